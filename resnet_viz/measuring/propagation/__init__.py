"""What becomes of a signal on its way through a net, forward and backward."""
