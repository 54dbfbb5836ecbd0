"""Holds acknowledgements against the tables of HL7: hl7apy in strict mode.

Reads MLLP frames from standard input and writes one line each: `ok CODE VERSION`, or `BAD CODE VERSION: reason`.

Not asked: 2.1, in which hl7apy demands a second component of MSH-7 (a precision, which we do not write); 2.9, which it does
not know.
"""

import sys

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.parser import get_message_info, parse_message, parse_segments


def validate(text):
    characters, _, version = get_message_info(text)
    if version not in ("2.2", "2.3"):
        message = parse_message(text, validation_level=VALIDATION_LEVEL.STRICT)
    else:
        # hl7apy finds the structure by MSH-9.3 alone, which came with 2.3.1: in older messages it is named to it.
        message = Message("ACK", version=version, validation_level=VALIDATION_LEVEL.STRICT, encoding_chars=characters)
        message.children = parse_segments(text, version, characters, VALIDATION_LEVEL.STRICT, message.reference, True)
    message.validate()


def main():
    frames = sys.stdin.buffer.read().split(b"\x0b")[1:]
    for frame in frames:
        text = frame.removesuffix(b"\x1c\r").decode()
        separator = text[3]
        head = text.split("\r")[0].split(separator)
        version = head[11] if len(head) > 11 else ""
        codes = [line.split(separator)[1] for line in text.split("\r") if line.startswith("MSA")]
        what = f"{' '.join(codes)} {version}"
        try:
            validate(text)
            print(f"ok {what}")
        except Exception as error:  # whatever it finds, it says
            print(f"BAD {what}: {type(error).__name__}: {error}")


main()
