"""Switch FFNs, conversion of timm models, their exact cost."""
