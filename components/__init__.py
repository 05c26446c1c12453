"""What is deployed: engines, targets, and the contract between them."""
