"""Behind a proxy: what X-Forwarded-* and Forwarded say of a request becomes its scope, where the proxy is trusted."""
