"""What attackers share: networks of their own, how these are trained and kept, and steps on pixels."""
