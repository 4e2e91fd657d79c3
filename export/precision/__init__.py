"""Lower precisions of an exported model: float16 and int8."""
