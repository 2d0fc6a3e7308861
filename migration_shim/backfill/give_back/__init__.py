"""Mode return: in-flight rows of the target go back to legacy. (``return`` is a keyword.)"""
