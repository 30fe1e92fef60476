"""Makes one checked configuration from variables, a configuration file and arguments."""
