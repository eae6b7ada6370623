"""The mesh as data: what things mean. No input or output happens in this room."""
