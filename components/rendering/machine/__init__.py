"""A `Launch` as services of a whole machine: what cloud-init puts there, for every VM target."""
