"""What one group of conditions needs to be trained and read: samples, network, loss, decoding."""
