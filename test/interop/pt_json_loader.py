import base64
import json

import torch


def load_pt_json(path):
    """Return the state_dict in a .pt-json file."""
    state = {}
    with open(path, encoding="utf-8") as file:
        entries = json.load(file)["state_dict"]
    for name, entry in entries.items():
        dtype, shape = getattr(torch, entry["dtype"]), entry["shape"]
        raw = bytearray(base64.b64decode(entry.get("data", "")))
        flat = (
            torch.frombuffer(raw, dtype=dtype)
            if raw
            else torch.tensor(entry.get("values", []), dtype=dtype)
        )
        state[name] = (
            state[entry["shares"]] if "shares" in entry else flat.reshape(shape)
        )
    return state
