"""One renderer a format. A renderer takes a document (plain data), returns text, and opens nothing."""
