"""The model poured into build/ and README.md. Pure: no network, no engine."""
