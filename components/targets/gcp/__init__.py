"""Google Cloud: machines with an endpoint of their own."""
