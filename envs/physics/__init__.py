"""Native games of physics: predicting what a body does next, and controlling one."""
