"""What each command does; no other room prints a usage or reads what was typed."""
