"""The report of an audit: its tables, verdict, drawings, figures for print and page."""
