"""Mutation testing: does a test beside the code notice when the code is wrong?"""
