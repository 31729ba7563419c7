"""The Python half of a test: requests come as JSON lines on standard input, answers leave as JSON lines.

Frameworks print to standard output as they like, so the answers have a file descriptor of their own: the original
standard output, while descriptor 1 leads to standard error.
"""

import json
import os
import re
import sys
import traceback


def prepare_environment():
    """Settings that TensorFlow and PyTorch read when they are imported."""
    os.environ.update(
        TF_ENABLE_ONEDNN_OPTS="0",
        CUDA_VISIBLE_DEVICES="",
        TF_CPP_MIN_LOG_LEVEL="3",
        TF_NUM_INTEROP_THREADS="1",
        TF_NUM_INTRAOP_THREADS="2",
        OMP_NUM_THREADS="2",
        KERAS_BACKEND="tensorflow",
    )


def serve(handlers):
    """Answers requests {"id", "do", ...} until standard input ends; an exception is an answer, not the end."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        number, name = request.pop("id"), request.pop("do")
        try:
            answer = {"id": number, "value": handlers[name](**request)}
            text = json.dumps(answer)
        except Exception as error:  # noqa: BLE001 -- whatever a framework raises is what the test reports
            told = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split(
                "Arguments received by"
            )[0]
            told = " ".join(told.split())
            if len(told) > 300:
                told = f"{told[:120]} … {told[-170:]}"
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{os.path.basename(last.filename)}:{last.lineno}"
            text = json.dumps(
                {"id": number, "error": f"{type(error).__name__}: {told} ({place})"}
            )
        answers.write(text + "\n")
        answers.flush()
