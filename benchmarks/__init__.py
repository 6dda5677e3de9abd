"""Speed, measured where it is claimed: of training, of attacks, of sweeps."""
