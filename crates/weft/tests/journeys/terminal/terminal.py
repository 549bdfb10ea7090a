"""A terminal for a program: `terminal.py ROWS COLUMNS PROGRAM...`

What the program draws goes to standard output. Lines of standard input are what a person does: `size ROWS COLUMNS`,
`key BYTE`, `hang-up`. Ends as the program does.
"""

import fcntl
import os
import pty
import selectors
import struct
import sys
import termios


def resize(terminal, rows, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))


def main():
    rows, columns, *program = sys.argv[1:]
    ready, go = os.pipe()
    child, terminal = pty.fork()
    if child == 0:
        os.close(go)
        os.read(ready, 1)  # Not before the terminal has its size.
        os.execvp(program[0], program)
    os.close(ready)
    resize(terminal, rows, columns)
    os.close(go)
    events = selectors.DefaultSelector()
    events.register(terminal, selectors.EVENT_READ)
    events.register(0, selectors.EVENT_READ)
    waits = b""
    while terminal is not None:
        for event, _ in events.select():
            if event.fd == terminal:
                try:
                    drawn = os.read(terminal, 65536)
                except OSError:
                    drawn = b""  # The program has ended (EIO).
                if not drawn:
                    terminal = None
                    break
                os.write(1, drawn)
                continue
            said = os.read(0, 4096)
            if not said:
                events.unregister(0)
            *lines, waits = (waits + said).split(b"\n")
            for line in lines:
                word, *values = line.decode().split()
                if word == "size":
                    resize(terminal, *values)
                elif word == "key":
                    os.write(terminal, bytes([int(values[0])]))
                elif word == "hang-up":
                    events.unregister(terminal)
                    os.close(terminal)
                    terminal = None
            if terminal is None:
                break
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status) % 256)


main()
