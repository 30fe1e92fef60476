#!/bin/sh
# Makes an authority, and certificates by it for the server and for a client.
# Python 3.13 and later want what RFC 5280 wants of them: keyUsage and authorityKeyIdentifier.
set -e
mkdir -p certificates
cd certificates
authority=authority.cnf
cat >"$authority" <<END
[req]
distinguished_name = name
prompt = no
x509_extensions = extensions
[name]
CN = an authority
[extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[issued]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost
END
key() {
    openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
}
key ca
openssl req -x509 -config "$authority" -key ca.key -days 30 -out ca.pem
for name in server client; do
    key "$name"
    openssl req -new -subj "/CN=$name" -key "$name.key" |
        openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
            -extfile "$authority" -extensions issued -out "$name.pem"
done
