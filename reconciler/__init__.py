"""Makes it so: wires, loops, commands."""
