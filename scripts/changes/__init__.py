"""What a change does to a stack, told to a person: `scripts/preview`, and the stacks' inventory."""
