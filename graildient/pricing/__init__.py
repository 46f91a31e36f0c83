"""The price model's inference half: features of a request, load, price, range, reasons, registry."""
