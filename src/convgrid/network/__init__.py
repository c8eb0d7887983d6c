"""From a pattern to a network: text, plan, module."""
