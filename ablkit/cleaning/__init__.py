"""Data of unknown trust: what a training shows of them, and what is handed on: verdict, table, model, cleaned set."""
