"""What runs on the machines that are deployed: their boot's stages, gateway and watchdog."""
