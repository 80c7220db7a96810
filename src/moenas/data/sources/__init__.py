"""Where images come from: each source makes a manifest."""
