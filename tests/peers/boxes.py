"""Boxes and texts as RapidOCR reads them, a JSON object for each image: without its line classifier, one line at a time.

usage: boxes.py IMAGE...
"""
import json
import sys

from rapidocr import RapidOCR

engine = RapidOCR(params={"Global.log_level": "error", "Global.use_cls": False, "Rec.rec_batch_num": 1})
for path in sys.argv[1:]:
    result = engine(path)
    boxes = [] if result.boxes is None else result.boxes.tolist()
    print(json.dumps({"boxes": boxes, "texts": list(result.txts or ())}), flush=True)
