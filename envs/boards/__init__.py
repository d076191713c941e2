"""Native games on boards: batched rules in torch, one game a file."""
