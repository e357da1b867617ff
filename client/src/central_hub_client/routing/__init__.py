"""Which instance to call: rules that the hub and its clients share. No I/O, no clock; chance comes as an argument."""
