"""A mail server for tests: writes each message that it takes into a file.

Arguments: port, directory, certificate and key ("" for none), "starttls", "tls" or "none", user and
password ("" for nobody). It ends when its standard input does.

In the directory: `new/` holds the messages; while there is `refuse`, mail is refused for now, and
while there is `hold`, the answer that a message was taken is held back. Nobody has an address that
begins with `gone@`, and one that begins with `later@` is refused for now, always.
"""

import asyncio
import os
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

port, directory, certificate, key, mode, user, password = sys.argv[1:]


def there(name):
    return os.path.exists(os.path.join(directory, name))


class Handler:
    taken = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone@"):
            return "550 no such user"
        if address.startswith("later@"):
            return "450 4.1.2 no such domain for now"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if there("refuse"):
            return "451 try again later"
        Handler.taken += 1
        name = f"{os.getpid()}-{Handler.taken:05}"
        with open(os.path.join(directory, "tmp", name), "wb") as file:
            for recipient in envelope.rcpt_tos:
                file.write(f"X-Envelope-To: {recipient}\r\n".encode())
            file.write(envelope.original_content)
        os.rename(os.path.join(directory, "tmp", name), os.path.join(directory, "new", name))
        while there("hold"):
            await asyncio.sleep(0.01)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    given = (data.login.decode(), data.password.decode())
    return AuthResult(success=given == (user, password), handled=False)


options = {}
if mode != "none":
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    if mode == "tls":
        options["ssl_context"] = context
    else:
        options |= {"tls_context": context, "require_starttls": True}
if user:
    options |= {"authenticator": authenticate, "auth_required": True}
    # Over TLS from the start the library does not see that there is any.
    options["auth_require_tls"] = mode == "starttls"

controller = Controller(Handler(), hostname="127.0.0.1", port=int(port), **options)
controller.start()
print("listening", flush=True)
sys.stdin.read()
controller.stop()
