"""The client of a vaekit service: tables in, tables out, over HTTP."""
