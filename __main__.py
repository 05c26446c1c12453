"""The Pulumi program: settings -> program -> outputs."""

import pulumi

from components.settings import ConfigurationError, raw_configuration
from stacks import choose

raw = raw_configuration()
stack = pulumi.get_stack()
try:
    program = choose(raw, stack)
    outputs = program.deploy(program.settings(raw))
except ConfigurationError as error:
    raise error.for_stack(stack) from None
for name, value in outputs.items():
    pulumi.export(name, value)
