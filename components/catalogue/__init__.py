"""Static facts of clouds, dated, so that nothing at preview or render needs the network."""
