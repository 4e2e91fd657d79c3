"""Labels in COCO's and PASCAL VOC's formats: one reader for training, evaluation and checks."""
