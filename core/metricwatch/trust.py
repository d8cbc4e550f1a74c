"""What to do about a certificate that is not trusted, where its authority is not the reason."""

from __future__ import annotations

import ssl

# OpenSSL's numbers of what is wrong with a certificate.
_NOT_YET, _EXPIRED, _OTHER_NAMES = 9, 10, (62, 64)


def advice_about(error: ssl.SSLError) -> str:
    """A sentence without its full stop; empty when the authority is what is wrong."""
    match getattr(error, "verify_code", None):
        case code if code == _EXPIRED:
            return "Renew the server's certificate"
        case code if code == _NOT_YET:
            return "Set the clock of this machine or of the certificate's authority right"
        case code if code in _OTHER_NAMES:
            return "Connect by a name or address that the server's certificate has"
    return ""
