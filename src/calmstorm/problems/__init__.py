"""Problems: read from files, generated, and kept apart."""
