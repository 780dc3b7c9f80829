"""The pages: HTML, and the fragments of it that htmx asks for."""
