"""Native games with text: what is seen and what is done are words."""
