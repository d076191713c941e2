"""Native games with hidden information: hands that others do not see, moves that are not shown at once."""
