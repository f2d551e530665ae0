"""Runs pip and compilers: everything they print goes to a log, and a failure ends in one line that says what to do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PROGRESS = re.compile(r'^\s*(\[\d+/\d+\]|(?:Collecting|Downloading|Building wheel for|Installing collected) [^\s;,]+)')
"""Lines of pip and ninja that show how far they are, such as "Downloading torch-2.11.0..." and "[12/180]"."""

ADVICE = [
    (r'No space left on device', 'the disk is full: an environment with torch for CUDA takes about 7 GB'),
    (
        r'Killed signal|fatal error: Killed|Cannot allocate memory|out of memory|signal 9',
        'memory ran out while compiling: run again with fewer compilers at a time, MAX_JOBS=1 make ...',
    ),
    (r'fatal error: Python\.h', "Python's headers are missing; on Debian or Ubuntu: apt install python3-dev"),
    (
        r'unsupported GNU version|CUDA version .* mismatches|mismatches the version that was used',
        'the CUDA toolkit does not fit: install the one of the torch above, with a compiler that it takes, '
        'or choose another torch: make TORCH_SPEC=...',
    ),
    (r'CUDA_HOME environment variable is not set|nvcc.* not found', 'no CUDA toolkit was found: set CUDA_HOME'),
    (
        r'Temporary failure in name resolution|Name or service not known|Connection (?:refused|reset|broken|aborted)|'
        r'NewConnectionError|ConnectTimeout|Read timed out|Max retries exceeded|ProxyError|SSLError|'
        r'Network is unreachable|CERTIFICATE_VERIFY_FAILED',
        'the package index cannot be reached: check the network and the proxy (HTTPS_PROXY, PIP_INDEX_URL), '
        'then run again; what is complete is kept',
    ),
    (
        r'No matching distribution found for (?P<what>[^\s]+)',
        'no {what} for this Python on the package index: take another Python (make PYTHON=...), or, for torch, '
        'another version (make TORCH_SPEC=...)',
    ),
    (
        r'The user requested \(constraint\) (?P<what>\S+)',
        'the requirements contradict the pin {what}; TORCH_SPEC and pip.conf can ask for other versions than '
        'constraints/',
    ),
    (r'ResolutionImpossible', 'the requirements contradict each other'),
    (r'DO NOT MATCH THE HASHES', 'a download is damaged: run again, with PIP_NO_CACHE_DIR=1'),
    (r'Permission denied', 'a file or folder may not be written'),
    (
        r'(?P<what>[^\n]{1,120}: error: [^\n]{1,100})',
        'the compiler failed ("{what}"); another one can be chosen: CC=... CXX=... make ...',
    ),
    (r'ninja: build stopped', 'the compiler failed; another one can be chosen: CC=... CXX=... make ...'),
]
"""What the output of a failed command holds, and what to do then; the first that fits counts."""


class SetupError(RuntimeError):
    """The set-up cannot continue; the message says in one line what to do. The log's path may follow on the next."""


def say(text: str) -> None:
    """Prints what the set-up does."""
    print(f'-- {text}', flush=True)


def run_logged(
    what: str, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Runs a command, with everything that it prints in a log, and its progress on a terminal.

    Args:
        what: What is done, for messages.
        command: The command with its arguments.
        log: File to append to.
        environment: Variables over those of this process.

    Raises:
        SetupError: The command failed; the message says what to do.
    """
    with log.open('a', errors='replace') as file:
        print(f'$ {" ".join(map(str, command))}', file=file, flush=True)
        start = file.tell()
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
        )
        for line in process.stdout:
            file.write(line)
            file.flush()
            if sys.stdout.isatty() and (step := PROGRESS.match(line)):
                print(f'\r\033[K   {step[1][:100]}', end='', flush=True)
        if sys.stdout.isatty():
            print('\r\033[K', end='', flush=True)
        status = process.wait()
    if status:
        with log.open(errors='replace') as file:
            file.seek(start)
            reason = advice(file.read())
        raise SetupError(f'{what}: {reason}\n  log: {log}')


def advice(output: str) -> str:
    """What to do about the output of a failed pip or compiler, in one line."""
    for pattern, line in ADVICE:
        if found := re.search(pattern, output):
            return line.format(**found.groupdict())
    errors = [line.strip() for line in output.splitlines() if re.match(r'\s*(ERROR|error):? ', line)]
    return f'{errors[0][:200]} (the log says more)' if errors else 'it failed; the log says why'


def failure(python: Path, code: str) -> str:
    """Why a Python cannot run this code: the last line of its errors. Empty if it can."""
    try:
        done = subprocess.run([python, '-c', code], capture_output=True, text=True, errors='replace', cwd='/')
    except OSError as error:
        return str(error)
    if not done.returncode:
        return ''
    return (done.stderr.strip().splitlines() or [f'exit status {done.returncode}'])[-1]


def runs(python: Path, code: str) -> bool:
    """Whether a Python runs this code without an error."""
    return not failure(python, code)
