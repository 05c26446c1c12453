"""The Pulumi program: settings -> program -> outputs."""

import pulumi

from components.settings import raw_configuration
from stacks import choose

raw = raw_configuration()
program = choose(raw, pulumi.get_stack())
for name, value in program.deploy(program.settings(raw)).items():
    pulumi.export(name, value)
