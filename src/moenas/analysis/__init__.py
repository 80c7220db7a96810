"""What a trained model does inside: which expert its tokens go to, and what that depends on."""
