"""What the workflows in `.github/workflows` run. All of it starts without any package."""
