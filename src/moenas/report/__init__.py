"""Figures, tables and the report; reads run folders only."""
