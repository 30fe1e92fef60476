"""From variables, a configuration file and arguments to one checked configuration. Serves nothing."""
