"""What single steps of a request cost, without any I/O."""
