"""Names that nobody should choose and somebody does, in every field that crosses from one system to another."""
